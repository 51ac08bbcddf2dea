-- Takes or renews the leader's lease.
--
-- KEYS[1]  the lease: "<term> <id>" of its holder, with a TTL
-- KEYS[2]  the term of the last leader
-- ARGV[1]  id of the caller
-- ARGV[2]  how long the lease stands, in milliseconds
-- ARGV[3]  the highest term that the caller knows of: after a failover Redis may have
--          an older one
-- Returns {1, the caller's term, its id} when the caller holds the lease, else
-- {0, term, id of who holds it}.
local held = redis.call('GET', KEYS[1])
if held then
  local term, id = string.match(held, '^(%d+) (.*)$')
  if id ~= ARGV[1] or tonumber(term) < tonumber(ARGV[3]) then
    return {0, tonumber(term), id}
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[2]) -- a full Redis lets a script go on that has begun to write
  redis.call('SET', KEYS[2], term)
  return {1, tonumber(term), id}
end
local term = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[3])) + 1
redis.call('PERSIST', KEYS[2]) -- as above
redis.call('SET', KEYS[2], string.format('%d', term))
redis.call('SET', KEYS[1], string.format('%d %s', term, ARGV[1]), 'PX', ARGV[2])
return {1, term, ARGV[1]}
