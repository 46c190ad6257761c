-- wrk's side of a click: requests from a hundred thousand addresses, as a proxy in front names
-- them, other ones in each run. They are written before the load begins: wrk is one core.
local REQUESTS = 100000
local requests, sent = {}, 0

init = function()
  local request = wrk.format("GET")
  local mark = "X-Forwarded-For: "
  local at = request:find(mark, 1, true) + #mark
  local head, tail = request:sub(1, at - 1), request:sub((request:find("\r\n", at, true)))
  local first = os.time() % 251 * 65521
  for number = 1, REQUESTS do
    local place = (first + number) % 16777216
    local low, rest = place % 256, math.floor(place / 256)
    local address = string.format("10.%d.%d.%d", math.floor(rest / 256), rest % 256, low)
    requests[number] = head .. address .. tail
  end
end

request = function()
  sent = sent % REQUESTS + 1
  return requests[sent]
end
