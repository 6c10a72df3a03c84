//! The operations that must be atomic on the server, as Lua scripts.

/// Pops entries of a list into the hash of their owner. KEYS: list, hash, owners. ARGV: count, command, lock in ms, first id, owner.
pub(crate) const POP: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local popped = {}
for index = 1, tonumber(ARGV[1]) do
  local value = redis.call(ARGV[2], KEYS[1])
  if not value then break end
  redis.call('HSET', KEYS[2], string.format('%.0f', ARGV[4] + index - 1), value)
  popped[index] = value
end
if #popped > 0 then
  redis.call('ZADD', KEYS[3], string.format('%.0f', now + ARGV[3]), ARGV[5])
end
return popped";

/// Removes entries from the hash of their owner. KEYS: hash, owners. ARGV: owner, ids. Returns how many were there.
pub(crate) const COMPLETE: &str = "\
local removed = 0
for index = 2, #ARGV do
  removed = removed + redis.call('HDEL', KEYS[1], ARGV[index])
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return removed";

/// Moves entries from the hash of their owner back to the list. KEYS: list, hash, owners. ARGV: command, owner, ids in the order in
/// which they are pushed.
pub(crate) const ABANDON: &str = "\
for index = 3, #ARGV do
  local value = redis.call('HGET', KEYS[2], ARGV[index])
  if value then
    redis.call('HDEL', KEYS[2], ARGV[index])
    redis.call(ARGV[1], KEYS[1], value)
  end
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[3], ARGV[2])
end
return 0";

/// Extends the lock of an owner if an entry is still its own. KEYS: hash, owners. ARGV: lock in ms, owner, id.
pub(crate) const RENEW: &str = "\
if redis.call('HEXISTS', KEYS[1], ARGV[3]) == 0 then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[1]), ARGV[2])
return 1";

/// Moves the entries of owners whose lock expired, and of named ones, back to the list, the oldest first. KEYS: list, owners. ARGV:
/// command, prefix of the hashes, owners.
pub(crate) const RECOVER: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
for index = 3, #ARGV do
  gone[#gone + 1] = ARGV[index]
end
local moved = 0
for _, owner in ipairs(gone) do
  local hash = ARGV[2] .. owner
  local ids = redis.call('HKEYS', hash)
  table.sort(ids, function(one, other) return tonumber(one) > tonumber(other) end)
  for _, id in ipairs(ids) do
    redis.call(ARGV[1], KEYS[1], redis.call('HGET', hash, id))
    moved = moved + 1
  end
  redis.call('DEL', hash)
  redis.call('ZREM', KEYS[2], owner)
end
return moved";

/// Claims entries of a stream that named consumers left, and those that no consumer renewed. KEYS: stream. ARGV: group, consumer, lock
/// in ms, count, most own entries, consumers that are gone. Returns rows of id, fields and delivery count.
pub(crate) const CLAIM: &str = "\
local claimed = {}
local left = tonumber(ARGV[4])
local function claim(rows)
  for _, row in ipairs(rows) do
    if left > 0 and row[2] ~= ARGV[2] then
      local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, row[1])[1]
      if entry then
        claimed[#claimed + 1] = { entry[1], entry[2], row[4] + 1 }
        left = left - 1
      else
        redis.call('XACK', KEYS[1], ARGV[1], row[1])
      end
    end
  end
end
for index = 6, #ARGV do
  if left > 0 then
    claim(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', left, ARGV[index]))
  end
  if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[index]) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[index])
  end
end
if left > 0 then
  claim(redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', left + ARGV[5]))
end
return claimed";

/// Claims entries of a stream that this consumer abandoned. KEYS: stream. ARGV: group, consumer, ids. Returns rows as [`CLAIM`].
pub(crate) const CLAIM_ABANDONED: &str = "\
local claimed = {}
for index = 3, #ARGV do
  local row = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[index], ARGV[index], 1, ARGV[2])[1]
  if row then
    local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[index])[1]
    if entry then
      claimed[#claimed + 1] = { entry[1], entry[2], row[4] + 1 }
    else
      redis.call('XACK', KEYS[1], ARGV[1], ARGV[index])
    end
  end
end
return claimed";

/// Extends the lock of entries of a stream that still belong to this consumer. KEYS: stream. ARGV: group, consumer, ids. Returns how
/// many belong to it.
pub(crate) const RENEW_CLAIM: &str = "\
local renewed = 0
for index = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[index], ARGV[index], 1, ARGV[2]) == 1 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[index], 'JUSTID')
    renewed = renewed + 1
  end
end
return renewed";

/// Acknowledges entries of a stream that still belong to this consumer. KEYS: stream. ARGV: group, consumer, ids. Returns how many
/// belonged to it.
pub(crate) const ACKNOWLEDGE: &str = "\
local acknowledged = 0
for index = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[index], ARGV[index], 1, ARGV[2]) == 1 then
    acknowledged = acknowledged + redis.call('XACK', KEYS[1], ARGV[1], ARGV[index])
  end
end
return acknowledged";
