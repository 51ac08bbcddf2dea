-- Keeps the checkpoint of a room, unless a newer one is there: an owner that was
-- held up may come after the next one.
-- KEYS[1] the checkpoint
-- ARGV[1..3] when the room was made (ms), its owner's epoch, its tick
-- ARGV[4] the value: the same three as "MADE EPOCH TICK\n", then the snapshot
-- ARGV[5] how long it stands (ms)
-- Returns 1, or 0 when a newer one is there.
local made, epoch, tick = string.match(redis.call('GETRANGE', KEYS[1], 0, 63), '^(%d+) (%d+) (%d+)\n')
if made then
  local there, here = { made, epoch, tick }, { ARGV[1], ARGV[2], ARGV[3] }
  for i = 1, 3 do
    local a, b = tonumber(there[i]), tonumber(here[i])
    if a > b then return 0 end
    if a < b then break end
  end
end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
return 1
