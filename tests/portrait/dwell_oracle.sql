-- The rules of services/portrait/domain/track.py in window functions: signalling (customer, time, place, line) and
-- border (border, opens, closes), times in milliseconds, to dwell by customer, place, day and slot; midnights are those
-- of UTC here.
WITH track AS (
    SELECT *, time // 86400000 AS today, row_number() OVER one AS n,
        lag(place) OVER one IS DISTINCT FROM place
            OR lag(time) OVER one // 86400000 IS DISTINCT FROM time // 86400000 AS enters
    FROM signalling
    WINDOW one AS (PARTITION BY customer ORDER BY time, line, place)
),
numbered AS (
    SELECT *, sum(enters::INTEGER) OVER (PARTITION BY customer ORDER BY n) AS stay FROM track
),
stays AS (
    SELECT customer, today, stay, any_value(place) AS place, min(time) AS begins
    FROM numbered GROUP BY customer, today, stay
),
neighbours AS (
    SELECT *, lag(place) OVER one AS before,
        lag(place) OVER one = lead(place) OVER one AND lead(begins) OVER one - begins < $pingpong AS candidate
    FROM stays
    WINDOW one AS (PARTITION BY customer, today ORDER BY stay)
),
-- Of neighbouring candidates the first, third, fifth … are flickers.
islands AS (
    SELECT *, stay - row_number() OVER (PARTITION BY customer, today, coalesce(candidate, false) ORDER BY stay)
        AS island
    FROM neighbours
),
told AS (
    SELECT customer, stay,
        CASE WHEN coalesce(candidate, false)
            AND row_number() OVER (
                PARTITION BY customer, today, coalesce(candidate, false), island ORDER BY stay
            ) % 2 = 1
        THEN before ELSE place END AS place
    FROM islands
),
placed AS (
    SELECT numbered.customer, n, time, told.place FROM numbered JOIN told USING (customer, stay)
),
joined AS (
    SELECT *,
        coalesce(lag(place) OVER one = place AND time - lag(time) OVER one <= $silent, false) AS stays_on,
        CASE WHEN lead(time) OVER one - time <= $gap THEN lead(time) OVER one ELSE time END AS until
    FROM placed
    WINDOW one AS (PARTITION BY customer ORDER BY n)
),
marked AS (
    SELECT *, sum((NOT stays_on)::INTEGER) OVER (PARTITION BY customer ORDER BY n) AS visit FROM joined
),
visits AS (
    SELECT customer, visit, any_value(place) AS place, min(time) AS begins, arg_max(until, n) AS ends
    FROM marked GROUP BY customer, visit
),
pieces AS (
    SELECT customer, place, border, least(ends, closes) - greatest(begins, opens) AS length
    FROM visits JOIN border ON begins < closes AND ends > opens
    WHERE place >= 0
)
SELECT customer, place, (border // 7)::INTEGER AS day, (border % 7)::INTEGER AS slot,
    (sum(length) // 1000)::BIGINT AS secs, count(*) AS visits, (max(length) // 1000)::BIGINT AS longest
FROM pieces WHERE length > 0 GROUP BY ALL
