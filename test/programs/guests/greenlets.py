# greenlets.py - greenlets that switch to and fro, allocating. Prints one sum.
#
# SPDX-License-Identifier: Apache-2.0
import greenlet


def f(n):
    total = 0
    while n is not None:
        total += len([str(i) for i in range(n)])
        n = greenlet.getcurrent().parent.switch(total)
    return total


sum_ = 0
for r in range(300):
    gs = [greenlet.greenlet(f) for _ in range(10)]
    for k in range(4):
        sum_ += sum(g.switch(k * 7) for g in gs)
    sum_ += sum(g.switch(None) for g in gs)
print(sum_)
