# fibers.rb - fibers, enumerators, threads, children and a signal.
#
# SPDX-License-Identifier: Apache-2.0
fibers = (0...200).map { |i| Fiber.new { |x| 5.times { |k| x = Fiber.yield(x + k + "s#{i}".size) }; x } }
sum = 0
6.times { |k| fibers.each { |f| sum += f.resume(k) } }
fibonacci = Enumerator.new do |y|
  a, b = 0, 1
  loop { y << a; a, b = b, a + b }
end
puts sum, fibonacci.lazy.select(&:even?).first(10).inspect
puts 4.times.map { |i| Thread.new { (1..20000).map(&:to_s).join.size + i } }.map(&:value).inspect
puts IO.popen("echo child").read
Process.wait(fork { exit! 7 })
puts $?.exitstatus
GC.start
trap("USR1") { puts "usr1" }
Process.kill(:USR1, $$)
sleep 0.05
