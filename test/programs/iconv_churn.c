/* iconv_churn.c - goes through many character sets: libc loads and unloads its converters behind dlopen's and dlclose's
 * back.
 *
 * Runs in: a test program. Truth: `ready`; at the end of stdin `converted` and how often.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <iconv.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "truth.h"

enum { THREADS = 2, IN_BYTES = 3000, OUT_BYTES = 16000, TIMES = 40 };

static const char *const sets[] = {
	"ISO-8859-15", "CP1252", "KOI8-R",     "EUC-JP",     "SHIFT_JIS", "BIG5",    "GBK",     "EUC-KR",
	"CP850",       "CP437",  "ISO-8859-2", "ISO-8859-7", "TIS-620",   "CP1251",  "GB18030", "ISO-2022-JP",
	"ISO-2022-KR", "JOHAB",  "BIG5-HKSCS", "EUC-TW",     "MACINTOSH", "CP1140",  "UTF-7",   "TSCII",
	"ARMSCII-8",   "VISCII", "T.61",       "IBM930",     "IBM939",    "IBM1364",
};

static atomic_bool stop;
static atomic_long converted;

static void convert(iconv_t d)
{
	char in[IN_BYTES], out[OUT_BYTES];
	for (int i = 0; i < IN_BYTES; i++)
		in[i] = (char)('a' + i % 26);
	for (int i = 0; i < TIMES; i++) {
		char *from = in, *to = out;
		size_t from_left = IN_BYTES, to_left = OUT_BYTES;
		iconv(d, &from, &from_left, &to, &to_left);
	}
}

static void *churn(void *arg)
{
	unsigned k = (unsigned)(uintptr_t)arg;
	while (!stop) {
		k = k * 1103515245 + 12345;
		iconv_t d = iconv_open("UTF-8", sets[(k >> 16) % (sizeof sets / sizeof *sets)]);
		if (d == (iconv_t)-1)
			continue;
		convert(d);
		iconv_close(d);
		converted++;
	}
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS];
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, churn, (void *)(i + 7));
	ready_and_wait();
	stop = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	printf("converted %ld\n", (long)converted);
	return 0;
}
