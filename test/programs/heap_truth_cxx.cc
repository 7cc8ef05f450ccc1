/* heap_truth_cxx.cc - known bytes at known sites, through every form of C++ new and delete.
 *
 * heap_truth_cxx KB      about KB KiB are allocated at each site.
 * Runs in: a test program; the e2e tests compare its profile with its words.
 * Truth: as heap_truth.c. A site is the caller of operator new; sites named via_ call it through the
 * standard library's templates.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <cstddef>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "truth.h"

namespace {

size_t site_bytes;

size_t blocks_of(size_t bytes)
{
	size_t n = site_bytes / bytes & ~size_t(7);
	return n < 8 ? 8 : n;
}

struct node {
	void *link;
	char rest[56];
	virtual ~node() = default;
};

struct alignas(128) wide {
	void *link;
	char rest[900];
};

constexpr std::align_val_t ALIGN{256};

/* Allocate at a site, keep 3 of 4, free the fourth with the matching delete. */
template <class New, class Delete>
void plain(const char *name, size_t size, New make, Delete unmake)
{
	size_t n = blocks_of(size), kept = 0;
	for (size_t i = 0; i < n; i++) {
		void *p = make(size);
		if (i % 4) {
			keep_block(p);
			kept++;
		} else {
			unmake(p, size);
		}
	}
	truth_add(name, size, long(n), long(kept));
}

} // namespace

extern "C" {
SITE void *site_new(size_t n) { void *p = ::operator new(n); KEEP(p); return p; }
SITE void *site_new_array(size_t n) { void *p = ::operator new[](n); KEEP(p); return p; }
SITE void *site_new_nothrow(size_t n) { void *p = ::operator new(n, std::nothrow); KEEP(p); return p; }
SITE void *site_new_array_nothrow(size_t n) { void *p = ::operator new[](n, std::nothrow); KEEP(p); return p; }
SITE void *site_new_aligned(size_t n) { void *p = ::operator new(n, ALIGN); KEEP(p); return p; }
SITE void *site_new_array_aligned(size_t n) { void *p = ::operator new[](n, ALIGN); KEEP(p); return p; }
SITE void *site_new_aligned_nothrow(size_t n) { void *p = ::operator new(n, ALIGN, std::nothrow); KEEP(p); return p; }
SITE void *site_new_array_aligned_nothrow(size_t n) { void *p = ::operator new[](n, ALIGN, std::nothrow); KEEP(p); return p; }
SITE void *site_new_object(size_t) { node *p = new node; KEEP(p); return p; }
SITE void *site_new_wide(size_t) { wide *p = new wide; KEEP(p); return p; }
SITE void *site_malloc_in_cxx(size_t n) { void *p = malloc(n); KEEP(p); return p; }

SITE void *via_vector(size_t n)
{
	auto *v = new std::vector<char>(n);
	KEEP(v);
	return v;
}

SITE void *via_string(size_t n)
{
	auto *s = new std::string(n - 1, 'x');
	KEEP(s);
	return s;
}
}

int main(int argc, char **argv)
{
	site_bytes = (argc > 1 ? size_t(atol(argv[1])) : 1024) << 10;

	plain("site_new", 40, site_new, [](void *p, size_t) { ::operator delete(p); });
	plain("site_new_array", 1000, site_new_array, [](void *p, size_t) { ::operator delete[](p); });
	plain("site_new_nothrow", 600, site_new_nothrow, [](void *p, size_t) { ::operator delete(p, std::nothrow); });
	plain("site_new_array_nothrow", 20000, site_new_array_nothrow,
	      [](void *p, size_t) { ::operator delete[](p, std::nothrow); });
	plain("site_new_aligned", 1024, site_new_aligned, [](void *p, size_t) {
		if (reinterpret_cast<uintptr_t>(p) % size_t(ALIGN))
			puts("misaligned 1");
		::operator delete(p, ALIGN);
	});
	plain("site_new_array_aligned", 5120, site_new_array_aligned,
	      [](void *p, size_t n) { ::operator delete[](p, n, ALIGN); });
	plain("site_new_aligned_nothrow", 512, site_new_aligned_nothrow,
	      [](void *p, size_t) { ::operator delete(p, ALIGN, std::nothrow); });
	plain("site_new_array_aligned_nothrow", 2560, site_new_array_aligned_nothrow,
	      [](void *p, size_t) { ::operator delete[](p, ALIGN, std::nothrow); });
	plain("site_new_wide", sizeof(wide), site_new_wide, [](void *p, size_t) { delete static_cast<wide *>(p); });
	plain("site_malloc_in_cxx", 900, site_malloc_in_cxx, [](void *p, size_t) { free(p); });

	size_t n = blocks_of(sizeof(node));
	static std::vector<node *> nodes; /* a polymorphic object cannot carry the chain */
	nodes.reserve(n);
	for (size_t i = 0; i < n; i++)
		nodes.push_back(static_cast<node *>(site_new_object(0)));
	for (size_t i = 0; i < n; i += 2)
		delete nodes[i]; /* the sized operator delete */
	truth_add("site_new_object", sizeof(node), long(n), long(n / 2));

	n = blocks_of(3000);
	static std::vector<std::vector<char> *> vectors;
	vectors.reserve(n);
	for (size_t i = 0; i < n; i++)
		vectors.push_back(static_cast<std::vector<char> *>(via_vector(3000)));
	for (size_t i = 0; i < n; i += 2)
		delete vectors[i];
	truth_add("via_vector", 3000, long(n), long(n / 2));
	truth_add("via_vector", sizeof(std::vector<char>), long(n), long(n / 2));

	static std::vector<std::string *> strings;
	strings.reserve(n);
	for (size_t i = 0; i < n; i++)
		strings.push_back(static_cast<std::string *>(via_string(3000)));
	truth_add("via_string", 3000, long(n), long(n));
	truth_add("via_string", sizeof(std::string), long(n), long(n));

	truth_print();
	ready_and_wait();
	return 0;
}
