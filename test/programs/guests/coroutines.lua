-- coroutines.lua - coroutines that make strings, an error and a child.
--
-- SPDX-License-Identifier: Apache-2.0
local s = 0
for r = 1, 300 do
  local cs = {}
  for i = 1, 20 do cs[i] = coroutine.wrap(function(x) for k = 1, 4 do x = coroutine.yield(#(("y"):rep(x + k))) end return 0 end) end
  for k = 1, 5 do for i = 1, 20 do s = s + cs[i](k) end end
end
print(s, pcall(error, "e"), (io.popen("echo child"):read()))
