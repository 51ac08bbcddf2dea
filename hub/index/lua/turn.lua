-- Takes the turn at a periodic job.
--
-- KEYS[1]  who has the turn
-- ARGV[1]  the job's period, in milliseconds
-- Returns 1 when the turn is the caller's now, else 0.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('DEL', KEYS[1]) -- a full Redis lets a script go on that has begun to write
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return 1
