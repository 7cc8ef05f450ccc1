/* cxx_threads.cc - a C++ program at work: threads that share a queue and build maps of strings.
 *
 * Runs in: a test program, one of the real programs of the e2e tests. Prints a checksum that does not depend
 * on the threads' order; then `ready`, and waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <condition_variable>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <unistd.h>

namespace shop {

struct order {
	int number;
	std::string text;
};

class order_queue {
	std::mutex m;
	std::condition_variable c;
	std::queue<std::unique_ptr<order>> q;
	bool closed = false;

public:
	void put(std::unique_ptr<order> o)
	{
		std::lock_guard<std::mutex> g(m);
		q.push(std::move(o));
		c.notify_one();
	}
	std::unique_ptr<order> take()
	{
		std::unique_lock<std::mutex> g(m);
		c.wait(g, [this] { return closed || !q.empty(); });
		if (q.empty())
			return nullptr;
		auto o = std::move(q.front());
		q.pop();
		return o;
	}
	void close()
	{
		std::lock_guard<std::mutex> g(m);
		closed = true;
		c.notify_all();
	}
};

class word_index {
	std::unordered_map<std::string, std::vector<int>> words;
	std::mutex m;

public:
	__attribute__((noinline)) void add_words(const order &o)
	{
		for (size_t at = 0; at + 8 <= o.text.size(); at += 8) {
			std::string word = "word-with-a-long-prefix-" + o.text.substr(at, 8);
			std::lock_guard<std::mutex> g(m);
			words[word].push_back(o.number);
		}
	}
	unsigned long checksum() const
	{
		unsigned long sum = 0;
		for (const auto &w : words)
			sum += w.first.size() * w.second.size() + std::hash<std::string>()(w.first) % 1000;
		return sum;
	}
};

} // namespace shop

int main()
{
	shop::order_queue queue;
	shop::word_index index;
	std::vector<std::thread> workers;
	for (int i = 0; i < 4; i++)
		workers.emplace_back([&] {
			while (auto o = queue.take())
				index.add_words(*o);
		});
	unsigned x = 1;
	for (int i = 0; i < 20000; i++) {
		auto o = std::make_unique<shop::order>();
		o->number = i;
		for (int j = 0; j < 12; j++) {
			x = x * 1664525 + 1013904223;
			o->text += std::to_string(10000000 + x % 5000);
		}
		queue.put(std::move(o));
	}
	queue.close();
	for (auto &w : workers)
		w.join();
	std::printf("checksum %lu\nready 1\n", index.checksum());
	std::fflush(stdout);
	char c;
	while (read(0, &c, 1) > 0)
		;
	return 0;
}
