-- The average price of each seller's last ten auctions; the winning bid is the highest, of equal ones the first.
SELECT seller, auction, avg(price) OVER (PARTITION BY seller ORDER BY closed, auction ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS price
FROM (
    SELECT a.seller, a.id AS auction, a.expires AS closed, b.price,
           row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b."dateTime") AS rank_number
    FROM auction a JOIN bid b ON a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires
) AS ranked
WHERE rank_number <= 1
