-- Says what is known of a ticket.
--
-- KEYS     as queue.lua
-- ARGV[1]  the ticket's id
-- Returns {'live', its text, its match, the match's phase, until when it may be
-- accepted, now}; the match's are empty when nobody has claimed it. Or {'ended',
-- how, match, what the match's players were told, '', now}; or {}. Times are Unix
-- milliseconds.
local id = ARGV[1]
local text = redis.call('HGET', tickets, id)
if text then
  local match = match_of(id)
  if not match then
    return {'live', text, '', '', '', int(now)}
  end
  local m = redis.call('HMGET', matches .. match, 'phase', 'until')
  return {'live', text, match, m[1] or '', m[2] or '', int(now)}
end
local gone = redis.call('HGET', ended, id)
if not gone then
  return {}
end
local how, match = string.match(gone, '^(%S+) (.*)$')
local found = match ~= '' and redis.call('HGET', matches .. match, 'found')
return {'ended', how, match, found or '', '', int(now)}
