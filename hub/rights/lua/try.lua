-- Tries commands as a script of the hub would run them, with arguments by which
-- they change nothing. SADD has none: what it adds is taken out at once, by one
-- of two commands, of which the user may lack either.
--
-- KEYS[1]  a key that is never there; the word KEY stands for it
-- ARGV[1]  a channel that nobody subscribes to; CHANNEL stands for it
-- ARGV[2]  and on: a command and its arguments, with a space between two
-- Returns, for each command, what it was answered when that was an error, and
-- '' when not. An error does not mean that the command is refused.
local said = {}
for i = 2, #ARGV do
  local words = {}
  for word in string.gmatch(ARGV[i], '[^ ]+') do
    if word == 'KEY' then
      word = KEYS[1]
    elseif word == 'CHANNEL' then
      word = ARGV[1]
    end
    words[#words + 1] = word
  end
  local reply = redis.pcall(unpack(words))
  if words[1] == 'sadd' then
    redis.pcall('SREM', KEYS[1], 'm')
    redis.pcall('DEL', KEYS[1])
  end
  said[#said + 1] = type(reply) == 'table' and reply.err or ''
end
return said
