#!/bin/bash
# corpus.sh FOLDER - make what the fuzz targets begin with: a folder of small inputs for each.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
to=$(mkdir -p "$1" && cd "$1" && pwd)
mkdir -p "$to"/{access,door,elf_symbols,lookup,answer,request,jit,complete,tls,token,merge,made}
cd "$to/made"

# --- what clients of TLS begin with ---------------------------------------------------------------------

/usr/bin/python3 - ../tls <<'END' || true # without its ssl module the target begins with nothing
import ssl
import sys
for version in ("TLSv1_2", "TLSv1_3"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.set_alpn_protocols(["h2", "http/1.1"])
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    with open("%s/%s" % (sys.argv[1], version), "wb") as f:
        f.write(sent.read())
END

# --- small ELF files, with all kinds of DWARF ---------------------------------------------------------

cat >a.c <<'END'
int total;
static inline __attribute__((always_inline)) int deep(int x) { total += x; return total * x; }
static inline __attribute__((always_inline)) int middle(int x) { return deep(x + 1) + deep(x + 2); }
int work(int x) { return x > 9 ? middle(x) : middle(x * 2); }
__attribute__((weak, alias("work"))) int work_alias(int x);
__attribute__((cold, noinline)) static int cold(int x) { return x / 3; }
int main(void) { return work(3) + (total ? cold(total) : 0); }
END
cat >b.cc <<'END'
namespace space {
template <class T> struct box { T value;
  T get() const { struct in { static T twice(T v) { return v * 2; } }; return in::twice(value); } };
static inline __attribute__((always_inline)) int add(const box<int> &b) { return b.get() + b.value; }
}
__attribute__((noinline)) int call(int x) { space::box<int> b{x}; return space::add(b); }
int main() { auto f = [](int y) { return call(y) + 1; }; return f(2); }
END

keep() { # FILE NAME: for both targets that take ELF files
	cp "$1" "../lookup/$2"
	cp "$1" "../elf_symbols/$2"
}

build() { # NAME FLAGS...: a program without libc: small
	local name=$1
	shift
	if "$@" -nostdlib -static -Wl,-e,main -Wl,--build-id -Wl,-z,noseparate-code -fno-asynchronous-unwind-tables \
		-o "$name" 2>/dev/null; then
		keep "$name" "$name"
	fi
}

for dwarf in 2 3 4 5; do
	for level in 0 2; do
		build "c$dwarf$level" gcc -gdwarf-$dwarf -O$level a.c
		build "cc$dwarf$level" g++ -gdwarf-$dwarf -O$level -fno-exceptions b.cc
	done
	build "z$dwarf" gcc -gdwarf-$dwarf -gz=zlib -O2 a.c
	build "zgnu$dwarf" gcc -gdwarf-$dwarf -gz=zlib-gnu -O2 a.c
	build "types$dwarf" g++ -gdwarf-$dwarf -fdebug-types-section -O1 -fno-exceptions b.cc
done
for dwarf in 4 5; do
	build "split$dwarf" gcc -gdwarf-$dwarf -gsplit-dwarf -O2 a.c
	build "dwarf64$dwarf" gcc -gdwarf64 -gdwarf-$dwarf -O2 a.c
	build "clang$dwarf" clang -gdwarf-$dwarf -O2 a.c
	build "lines$dwarf" gcc -g1 -gdwarf-$dwarf -O2 a.c
done
gcc -g -O2 -c a.c -o a.o && keep a.o relocatable
gcc -g -O2 -shared -fPIC -nostdlib a.c -o a.so && keep a.so shared
gcc -O2 -shared -fPIC -nostdlib -Wl,--hash-style=both -s a.c -o bare.so && keep bare.so bare
strip -o stripped c42 && keep stripped nothing
objcopy --only-keep-debug c52 only.debug && keep only.debug only
objcopy --strip-debug --add-gnu-debuglink=only.debug c52 linked && keep linked linked
if objcopy -S --keep-symbol=work a.so mini && xz -kf mini &&
	objcopy -S --add-section .gnu_debugdata=mini.xz a.so minied; then
	keep minied mini
fi
if dwz -m alt.debug c52 cc52 2>/dev/null; then
	keep c52 dwz
	keep alt.debug alt
fi

# --- text ---------------------------------------------------------------------------------------------

printf '%b' '\x0a\x00o 0\na 10 10\nf 12 10\t/src/a.c\t_Z1fi\tf(int)\nf 7 0\t/src/b.c\tmain\tmain\n' \
	'a 20 0\no 1\nn why\na 1000 ff0\ne\n' >../answer/both
printf '%b' '\xff\x01o 1\na fffffffffffffff0 1\nf 4294967295 1\t\t\t\xc3\xa9\na 10 2\na 2f 0\no 0\n' \
	'a 2f 2f\nf 0 0\t\tx\tx\n' >../answer/cut
printf 'o aa11\np /plain\na 20\na 10\na 17\no -\np no\np /damaged\na 7\na f\nd _one\nd huge\nd main\n' >../request/all
printf 'o -\na 1\np /x' >../request/cut
printf '\x0010 20 first\n18 8 second one\n0x30 0x10 third\n5 c fourth\n10 1 last\n' >../jit/lines
printf '\x80ffffffffffff0000 ffff high\n40 8\nnonsense\n20 10 a\n0 ffffffffffffffff all\n30 8 b' >../jit/odd
{ printf '\x40'; for i in 1 2 3 4 5 6 7 8; do printf '%x 9 name_%s\n' $((i * 17)) "$i$i$i$i$i$i$i"; done; } >../jit/many

# --- messages between processes (http/door/protocol.h), a request, a token ------------------------------------------

message() { # NAME KIND BODY
	printf '%b' "1dsp\\x01\\x00\\x0$2\\x00$3" >"../door/$1"
}
zeros() { # COUNT
	head -c "$1" /dev/zero | sed 's/\x0/\\x00/g'
}
message hello 1 '\x2a\x00\x00\x00\x2a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00'
message welcome 2 "42$(zeros 22)http://localhost:6060/debug/pprof/$(zeros 86)"
message refused 3 "\\x01$(zeros 7)"
message ask 4 ''
message status 5 "$(zeros 48)sh$(zeros 14)sh -c x$(zeros 153)$(zeros 120)"
message pass 6 ''
message taken 7 ''
printf 'GET /pid/42/debug/pprof/heap?seconds=1&debug=2 HTTP/1.1\r\nHost: localhost\r\n%b\r\n' \
	'Authorization: Basic eDp5\r\n' >../access/get
printf 'POST /debug/pprof/symbol HTTP/1.0\r\nContent-Length: 4\r\n\r\n0x10' >../access/post
printf 'Bearer secret' >../token/bearer
printf 'Basic eDpzZWNyZXQ=' >../token/basic
printf 'secret\n' >../token/file

# --- a saved profile (encoder/profile/profile.proto) ------------------------------------------------------------

{
	printf '\x0a\x04\x08\x01\x10\x02\x12\x07\x0a\x02\x01\x02\x12\x01\x05' # sample_type, sample
	printf '\x1a\x0d\x08\x01\x10\x80\x20\x18\x80\xa0\x02\x28\x03\x30\x04' # mapping
	printf '\x1a\x0c\x08\x02\x10\x80\xa0\x02\x18\x80\xa0\x08\x28\x06'     # another
	printf '\x22\x07\x08\x01\x10\x01\x18\x90\x20'                         # location without a line
	printf '\x22\x0b\x08\x02\x10\x01\x18\x96\x40\x22\x02\x08\x01'         # with one
	printf '\x22\x0e\x08\x03\x10\x02\x18\x9a\xa0\x02\x22\x04\x08\x02\x10\x07'
	printf '\x2a\x06\x08\x01\x10\x05\x18\x05\x2a\x08\x08\x02\x10\x02\x18\x02\x20\x03' # functions
	printf '\x32\x00\x32\x05alloc\x32\x05count\x32\x04/app\x32\x04aa11\x32\x08app+0x16\x32\x03/so'
} >../complete/plain
gzip -9nc ../complete/plain >../complete/gzip
cat ../complete/gzip ../complete/gzip >../complete/twice

# --- two saved profiles, and where the second one begins (of 255) -------------------------------------------------

{
	printf '\x80'
	cat ../complete/plain ../complete/plain
} >../merge/same
{
	printf '\xff\x0a\x04\x08\x01\x10\x02\x38\x08\x5a\x04\x08\x01\x10\x02\x60\x07'   # types, drop_frames, period
	printf '\x12\x15\x0a\x02\x01\x02\x12\x01\x05\x1a\x04\x08\x05\x10\x06\x1a\x06\x08\x05\x18\x07\x20\x02' # labels
	printf '\x12\x08\x0a\x02\x02\x01\x12\x02\x80\x01'
	printf '\x1a\x0d\x08\x01\x10\x80\x20\x18\x80\xa0\x02\x28\x03\x30\x04'
	printf '\x22\x0b\x08\x01\x10\x01\x18\x90\x20\x22\x02\x08\x01'
	printf '\x22\x0d\x08\x02\x10\x01\x18\x96\x40\x22\x04\x08\x01\x10\x02'
	printf '\x2a\x06\x08\x01\x10\x05\x18\x05\x6a\x01\x07'
	printf '\x32\x00\x32\x05alloc\x32\x05count\x32\x04/app\x32\x04aa11\x32\x03key\x32\x03/so\x32\x04note\x32\x02a|'
} >../merge/labels
{
	printf '\xff'
	cat ../complete/gzip
} >../merge/gzip
