-- Drops the checkpoint of a room, unless it is of a later owner, or of a later room
-- of the same id.
-- KEYS[1] the checkpoint
-- ARGV[1..2] when the room was made (ms), its owner's epoch
-- Returns how many were dropped.
local made, epoch = string.match(redis.call('GETRANGE', KEYS[1], 0, 63), '^(%d+) (%d+) ')
if made then
  made, epoch = tonumber(made), tonumber(epoch)
  if made > tonumber(ARGV[1]) or made == tonumber(ARGV[1]) and epoch > tonumber(ARGV[2]) then return 0 end
end
return redis.call('DEL', KEYS[1])
