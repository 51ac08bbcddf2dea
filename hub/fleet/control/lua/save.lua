-- Keeps what the rules remember and what was decided, unless another leads.
--
-- KEYS[1]  the term of the leader
-- KEYS[2]  what the rules remember
-- KEYS[3]  the journal, a stream
-- ARGV[1]  the caller's term
-- ARGV[2]  what the rules remember now; empty: it has not changed
-- ARGV[3]  entries that the journal keeps, about
-- ARGV[4…] entries for it
-- Returns 1, or 0 when the caller's term is over: then nothing was changed.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PERSIST', KEYS[2]) -- a full Redis lets a script go on that has begun to write
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[2], ARGV[2])
end
for i = 4, #ARGV do
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'e', ARGV[i])
end
return 1
