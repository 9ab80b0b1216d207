-- The public query counts in windows of processing time; a view is a function of its inputs, so these are windows of event time.
SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
FROM TUMBLE(bid, "dateTime", INTERVAL '10 seconds')
GROUP BY bidder, window_start, window_end
