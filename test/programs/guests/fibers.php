<?php
// fibers.php - fibers that suspend at every depth, a child, a sleep.
//
// SPDX-License-Identifier: Apache-2.0
$fibers = [];
$sum = 0;
for ($i = 0; $i < 200; $i++) {
	$fibers[$i] = new Fiber(function ($x) {
		for ($k = 0; $k < 5; $k++)
			$x = Fiber::suspend($x + strlen(str_repeat("a", $k * 50)));
		return $x;
	});
	$sum += $fibers[$i]->start($i);
}
for ($k = 0; $k < 5; $k++)
	foreach ($fibers as $f)
		if (!$f->isTerminated())
			$sum += $f->resume($k) ?? 0;
echo $sum, "\n", md5(serialize(range(1, 50000))), "\n", trim(shell_exec("echo child")), "\n";
usleep(1000);
