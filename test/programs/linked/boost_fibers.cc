/* boost_fibers.cc - fibers of boost.context on small stacks, made and ended in turn; each allocates and throws.
 *
 * Truth: prints `sum N`, the same at each run.
 * flags: -lboost_context
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

namespace ctx = boost::context;

static long work(int n)
{
	std::vector<std::string> words;
	for (int i = 0; i < n; i++)
		words.push_back(std::string(static_cast<size_t>(i % 60), 'x') + std::to_string(i));
	try {
		if (n % 3 == 0)
			throw std::runtime_error(words.back());
	} catch (const std::exception &e) {
		return static_cast<long>(std::string(e.what()).size());
	}
	return static_cast<long>(words.size());
}

int main()
{
	long sum = 0;
	for (int round = 0; round < 400; round++) {
		std::vector<ctx::fiber> fibers;
		for (int f = 0; f < 8; f++)
			fibers.emplace_back(std::allocator_arg, ctx::fixedsize_stack(static_cast<size_t>(32768 + 4096 * (round % 5))),
			                    [f, &sum](ctx::fiber &&back) {
				                    for (int i = 1; i <= 4; i++) {
					                    sum += work(5 * i + f);
					                    back = std::move(back).resume();
				                    }
				                    return std::move(back);
			                    });
		for (int i = 0; i < 4; i++)
			for (ctx::fiber &f : fibers)
				f = std::move(f).resume();
		for (ctx::fiber &f : fibers)
			while (f)
				f = std::move(f).resume();
	}
	std::printf("sum %ld\n", sum);
	return 0;
}
