// many.cc - C++ with what makes names long and chains deep: templates, lambdas, local classes, virtual calls, exceptions,
// constructors that are several symbols, thunks, functions that are folded, split and aliased.
//
// Runs in: nothing; test_symbolize.py compiles it in many ways and looks up addresses in it.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace many {

template <int N>
struct Unroll {
	static inline long step(long x) { return Unroll<N - 1>::step(x * N + 1) ^ x; }
};
template <>
struct Unroll<0> {
	static inline long step(long x) { return x; }
};

struct Shape {
	explicit Shape(std::string n) : name(std::move(n)) {}
	virtual ~Shape() { name.clear(); }
	virtual double area() const = 0;
	virtual double scaled(double by) const { return area() * by * by; }
	std::string name;
};

struct Named {
	virtual ~Named() = default;
	virtual std::string label() const = 0;
};

// A second base: thunks.
struct Square : Shape, Named {
	explicit Square(double s) : Shape("square"), side(s)
	{
		if (s < 0)
			throw std::invalid_argument("a side of " + std::to_string(s));
	}
	double area() const override { return side * side; }
	std::string label() const override { return name + " of " + std::to_string(side); }
	double side;
};

struct Circle : virtual Shape, virtual Named {
	explicit Circle(double r) : Shape("circle"), radius(r) {}
	double area() const override { return 3.14159265 * radius * radius; }
	double scaled(double by) const override { return by > 0 ? Shape::scaled(by) : throw std::domain_error("scale"); }
	std::string label() const override { return name; }
	double radius;
};

struct Ring final : Circle {
	Ring(double r, double i) : Shape("ring"), Circle(r), inner(i) {}
	double area() const override { return Circle::area() - Circle(inner).area(); }
	double inner;
};

template <typename T, typename Compare>
__attribute__((noinline)) T best(const std::vector<T> &of, Compare better)
{
	if (of.empty())
		throw std::out_of_range("nothing to choose from");
	T found = of[0];
	for (const T &t : of)
		if (better(t, found))
			found = t;
	return found;
}

template <typename T>
class Tree {
public:
	~Tree() { drop(root); }
	void add(const T &v)
	{
		Node **at = &root;
		while (*at)
			at = v < (*at)->value ? &(*at)->left : &(*at)->right;
		*at = new Node{v, nullptr, nullptr};
	}
	template <typename F>
	void each(F &&f) const
	{
		walk(root, f);
	}
	T sum() const
	{
		T total{};
		each([&total](const T &v) { total += v; });
		return total;
	}

private:
	struct Node {
		T value;
		Node *left, *right;
	};
	template <typename F>
	static void walk(const Node *n, F &f)
	{
		if (!n)
			return;
		walk(n->left, f);
		f(n->value);
		walk(n->right, f);
	}
	static void drop(Node *n)
	{
		if (n) {
			drop(n->left);
			drop(n->right);
			delete n;
		}
	}
	Node *root = nullptr;
};

__attribute__((noinline)) std::vector<std::string> split(const std::string &text, char by)
{
	std::vector<std::string> words;
	std::string word;
	for (char c : text) {
		if (c == by) {
			words.push_back(word);
			word.clear();
		} else {
			word += c;
		}
	}
	words.push_back(std::move(word));
	return words;
}

__attribute__((noinline)) long count_words(const std::vector<std::string> &words)
{
	struct Longest {
		std::size_t longest = 0;
		bool operator()(const std::string &w)
		{
			longest = std::max(longest, w.size());
			return w.size() > 2;
		}
	} local;
	std::map<std::string, long> counts;
	for (const auto &w : words)
		if (local(w))
			counts[w]++;
	std::unordered_map<std::size_t, std::vector<std::string>> by_length;
	for (const auto &p : counts)
		by_length[p.first.size()].push_back(p.first);
	return std::accumulate(by_length.begin(), by_length.end(), static_cast<long>(local.longest),
	                       [](long n, const auto &p) { return n * 31 + static_cast<long>(p.second.size()); });
}

__attribute__((noinline)) long guarded(int n)
{
	try {
		Square s(n);
		return static_cast<long>(s.area()) + static_cast<long>(s.label().size());
	} catch (const std::invalid_argument &e) {
		std::fprintf(stderr, "%s\n", e.what());
		return -1;
	} catch (...) {
		throw;
	}
}

namespace {
template <typename... Args>
long fold(Args... args)
{
	return (0l + ... + Unroll<5>::step(static_cast<long>(args)));
}

std::function<long(long)> compose(std::function<long(long)> f, std::function<long(long)> g)
{
	return [f = std::move(f), g = std::move(g)](long x) { return f(g(x)); };
}
} // namespace

extern "C" __attribute__((noinline)) long many_aliased(long n)
{
	std::vector<long> v(static_cast<std::size_t>(n % 100) + 1);
	std::iota(v.begin(), v.end(), n);
	std::sort(v.begin(), v.end(), [n](long a, long b) { return Unroll<7>::step(a ^ n) < Unroll<7>::step(b ^ n); });
	return std::count_if(v.begin(), v.end(), [](long x) { return x & 1; });
}
extern "C" long many_alias(long n) __attribute__((alias("many_aliased")));

} // namespace many

int main(int argc, char **)
{
	using namespace many;
	std::vector<std::unique_ptr<Shape>> shapes;
	shapes.push_back(std::make_unique<Square>(argc));
	shapes.push_back(std::make_unique<Circle>(argc + 1));
	shapes.push_back(std::make_unique<Ring>(argc + 3, argc));
	std::sort(shapes.begin(), shapes.end(), [](const auto &a, const auto &b) { return a->area() < b->area(); });
	double sum = 0;
	for (const auto &s : shapes)
		sum += s->scaled(2);
	Tree<long> longs;
	Tree<std::string> strings;
	Tree<double> doubles;
	for (int i = 0; i < 50; i++) {
		longs.add(Unroll<9>::step(i));
		strings.add(std::to_string(i * 7 % 13));
		doubles.add(i * 0.37);
	}
	auto twice = compose([](long x) { return x * 2; }, [argc](long x) { return x + argc; });
	std::vector<int> ints{3, 1, 2};
	std::vector<double> reals{3, 1, 2};
	std::vector<std::string> texts{"c", "a", "b"};
	std::printf("%g %ld %zu %g %ld %d %g %s %ld %ld %ld %ld\n", sum, longs.sum(), strings.sum().size(), doubles.sum(),
	            twice(fold(1, 2u, 3l, 4.0f)), best(ints, std::less<int>()), best(reals, std::greater<double>()),
	            best(texts, [](const auto &a, const auto &b) { return a.size() + 1 > b.size(); }).c_str(),
	            count_words(split("the quick brown fox jumps over the lazy dog", ' ')), guarded(argc) + guarded(-argc),
	            many_aliased(argc + 40), many_alias(argc));
	return 0;
}
