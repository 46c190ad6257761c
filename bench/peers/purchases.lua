-- wrk's side of the purchases in bench/peers: a new order of the next affiliate in every request.
local body = os.getenv("BENCH_BODY")
local affiliates = tonumber(os.getenv("BENCH_AFFILIATES"))
local headers = { ["Content-Type"] = "application/json" }
local sent = 0

request = function()
  sent = sent + 1
  local affiliate = "A" .. (sent % affiliates + 1)
  return wrk.format("POST", nil, headers, string.format(body, affiliate, sent))
end
