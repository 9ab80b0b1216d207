WITH counted AS (
    SELECT auction, window_start, window_end, count(*) AS num
    FROM HOP(bid, "dateTime", INTERVAL '2 seconds', INTERVAL '10 seconds')
    GROUP BY auction, window_start, window_end)
SELECT c.auction, c.num
FROM counted c
JOIN (SELECT window_start, window_end, max(num) AS maxn FROM counted GROUP BY window_start, window_end) m
  ON c.window_start = m.window_start AND c.window_end = m.window_end AND c.num >= m.maxn
