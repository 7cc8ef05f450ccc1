// T.java - a pool of threads, an overflow of the stack, a null pointer (both are signals), a child.
//
// SPDX-License-Identifier: Apache-2.0
import java.util.*;
import java.util.concurrent.*;

public class T {
	static int depth(int n) {
		return depth(n + 1) + 1;
	}

	static int work(int n) {
		StringBuilder b = new StringBuilder();
		for (int k = 0; k < 3000; k++)
			b.append(k * n);
		return b.length();
	}

	public static void main(String[] args) throws Exception {
		ExecutorService pool = Executors.newFixedThreadPool(6);
		List<Future<Integer>> results = new ArrayList<>();
		for (int i = 0; i < 60; i++) {
			int n = i;
			results.add(pool.submit(() -> work(n)));
		}
		int sum = 0;
		for (Future<Integer> r : results)
			sum += r.get();
		System.out.println(sum);
		pool.shutdown();
		try {
			depth(0);
		} catch (StackOverflowError e) {
			System.out.println("overflow");
		}
		try {
			Object nothing = args.length == 0 ? null : args;
			System.out.println(nothing.hashCode());
		} catch (NullPointerException e) {
			System.out.println("null");
		}
		Process p = new ProcessBuilder("echo", "child").start();
		System.out.print(new String(p.getInputStream().readAllBytes()));
		System.gc();
		Thread.sleep(100);
		System.exit(p.waitFor());
	}
}
