-- Grants request slots. Everything is in whole microseconds of this server's clock,
-- written with %.0f, because a number of 16 digits is not printed exactly everywhere.
--
-- KEYS[1]   state: run, last, tat, open, pause, lot, and the sum of each sliding count by its key
-- KEYS[2..] counted windows, each described by seven ARGV from ARGV[9] on:
--           'slide', most, weight, width, span, 0, 0
--           'day', most, weight and the starts of four days
-- ARGV      step, want, lead, ahead, hold, reset, lot, from: the slots of that lot from that
--           instant on were not used, nor will be
-- Returns   {code, clock, instant, granted, lot}
local GRANTED, EARLY, FULL, PAUSED, QUARANTINED = 0, 1, 2, 3, 4
local SKEW = 5 * 1000000 -- the other side's midnight may be so far from ours

local state = KEYS[1]
local step, want, lead, ahead = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local hold, reset = tonumber(ARGV[5]), ARGV[6] == '1'

local function int(n) return string.format('%.0f', n) end

local t = redis.call('TIME')
local clock = tonumber(t[1]) * 1000000 + tonumber(t[2])

-- The run id is read in here, so that it belongs to the server that grants. Where it is
-- not to be had, only the state's own presence tells that the past is known.
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or 'unknown'

local h = redis.call('HMGET', state, 'run', 'last', 'tat', 'open', 'pause', 'lot')
local last, tat = tonumber(h[2] or 0), tonumber(h[3] or 0)
local open, pause, lot = tonumber(h[4] or 0), tonumber(h[5] or 0), tonumber(h[6] or 0)
local back = last - clock -- how far the clock has gone back
local new = math.max(lot + 1, clock) -- what is granted together is a lot; no two have one number

if h[1] ~= run or back > hold or reset then
  if not h[1] then -- sums are gone: so must be what they sum
    for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
  end
  if back > hold then pause = pause - back end
  open = clock + hold
  redis.call('HSET', state, 'run', run, 'last', int(clock), 'tat', '0', 'open', int(open), 'pause', int(pause), 'lot', int(new))
  return {QUARANTINED, clock, open, 0, 0}
end
if back > 0 then return {EARLY, clock, last, 0, 0} end
if open > clock then return {QUARANTINED, clock, open, 0, 0} end
if pause > clock then return {PAUSED, clock, pause, 0, 0} end
-- What is given back is granted again, if it is the end of the last lot. That lot is then
-- over: a call that comes twice gives back once.
if lot > 0 and tonumber(ARGV[7]) == lot and tonumber(ARGV[8]) < tat then
  tat = tonumber(ARGV[8])
  redis.call('HSET', state, 'tat', int(tat), 'lot', int(new))
  new = new + 1
end
if want == 0 then return {GRANTED, clock, math.max(tat, clock), 0, 0} end -- asks only whether there would be any

local first = math.max(tat, clock)
if first > clock + lead then return {EARLY, clock, first - lead, 0, 0} end

-- slide drops what has left the window that ends at first, and returns the instant at
-- which there is room (0: now) and a function that takes it.
local function slide(key, most, weight, width, span)
  local sum = tonumber(redis.call('HGET', state, key) or 0)
  local bucket = math.floor(first / width)
  local function entry(i)
    local e = redis.call('LINDEX', key, i)
    if not e then return nil, 0 end
    local b, n = string.match(e, '^(%d+):(%d+)$')
    return tonumber(b), tonumber(n)
  end
  local b, n = entry(0)
  while b and b <= bucket - span do
    redis.call('LPOP', key)
    sum = sum - n
    b, n = entry(0)
  end
  if not b then sum = 0 end
  redis.call('HSET', state, key, int(sum))

  local over = sum + weight - most
  local i = 0
  while over > 0 do
    b, n = entry(i)
    over, i = over - n, i + 1
    if not b or over <= 0 then return ((b or bucket) + span) * width end
  end
  return 0, function()
    local youngest, had = entry(-1)
    if youngest and youngest >= bucket then
      redis.call('LSET', key, -1, int(youngest) .. ':' .. int(had + weight))
    else
      redis.call('RPUSH', key, int(bucket) .. ':' .. int(weight))
    end
    redis.call('HSET', state, key, int(sum + weight))
  end
end

-- day is the same for calendar days. Close to midnight a request counts for both days,
-- because the other side's clock decides which one it falls on.
local function day(key, most, weight, ...)
  local start = {...}
  local days, free = {}, 0
  for i = 1, 3 do
    local d, stop = start[i], start[i + 1]
    if first + SKEW >= d and first - SKEW < stop then
      days[#days + 1] = d
      if tonumber(redis.call('HGET', key, int(d)) or 0) + weight > most then free = stop + SKEW end
    end
  end
  if #days == 0 then free = first + 60 * 1000000 end -- the clocks are days apart: better nothing
  return free, function()
    for _, d in ipairs(redis.call('HKEYS', key)) do
      if tonumber(d) < start[1] then redis.call('HDEL', key, d) end
    end
    for _, d in ipairs(days) do redis.call('HINCRBY', key, int(d), int(weight)) end
  end
end

local take = {}
for i = 2, #KEYS do
  local a = {}
  local at = 7 * (i - 1) + 2
  for j = 1, 6 do a[j] = tonumber(ARGV[at + j]) end
  local window = ARGV[at] == 'day' and day or slide
  local free
  free, take[#take + 1] = window(KEYS[i], a[1], a[2], a[3], a[4], a[5], a[6])
  if free > 0 then return {FULL, clock, free, 0, 0} end
end
for _, f in ipairs(take) do f() end

local granted = math.min(want, math.floor((clock + ahead - first) / step) + 1)
redis.call('HSET', state, 'last', int(clock), 'tat', int(first + granted * step), 'lot', int(new))
return {GRANTED, clock, first, granted, new}
