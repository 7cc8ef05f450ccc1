// libcxx_plug.cc - a plug-in that uses what libstdc++ brings: strings, vectors, an exception, the operators' forms.
//
// Runs in: cxx_host.
//
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

struct alignas(64) wide {
	char bytes[64];
};

extern "C" int plug(int n)
{
	int sum = 0;
	std::vector<std::string> kept;
	for (int i = 0; i < n; i++) {
		kept.push_back(std::string(i + 1, 'x'));
		wide *volatile w = new wide;
		char *volatile c = new (std::nothrow) char[100 + i];
		sum += (int)kept.back().size() + (w != nullptr) + (c != nullptr);
		delete[] c;
		delete w;
	}
	try {
		volatile size_t much = (size_t)1 << 60;
		char *volatile c = new char[much];
		delete[] c;
	} catch (std::bad_alloc &) {
		sum++;
	}
	return sum;
}
