-- wrk's side of a click: every request comes from another address, as a proxy in front would say.
local place = os.time() % 251 * 65521
local head, tail

init = function()
  local request = wrk.format("GET")
  local mark = "X-Forwarded-For: "
  local at = request:find(mark, 1, true) + #mark
  head, tail = request:sub(1, at - 1), request:sub((request:find("\r\n", at, true)))
end

request = function()
  place = (place + 1) % 16777216
  local low = place % 256
  local middle = (place - low) / 256 % 256
  return head .. "10." .. (place - place % 65536) / 65536 .. "." .. middle .. "." .. low .. tail
end
