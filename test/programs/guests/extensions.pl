# extensions.pl - extensions, threads, children, an alarm.
#
# SPDX-License-Identifier: Apache-2.0
use strict;
use Config;
use POSIX ();
use Storable qw(freeze thaw);

my $h = thaw(freeze({ map { $_ => [1 .. $_ % 9] } 1 .. 3000 }));
print scalar(keys %$h), "\n";
if ($Config{useithreads}) {
	require threads;
	my @t = map { my $n = $_; threads->create(sub { my $s = 0; $s += $_ for 1 .. 20000 + $n; $s }) } 1 .. 4;
	print join(",", map { $_->join } @t), "\n";
}
my $pid = fork;
POSIX::_exit(6) if !$pid;
waitpid $pid, 0;
print $? >> 8, "\n", `echo child`;
$SIG{ALRM} = sub { print "alarm\n" };
alarm 1;
select undef, undef, undef, 3;
print POSIX::strftime("%Y", gmtime 0), "\n";
system("exit 3");
print $? >> 8, "\n";
