-- Points by organisation and month; what one employee earned is in his statement, not here.
CREATE VIEW marts.points_months AS
SELECT period_id, org_id, component, count(*) AS entries, count(DISTINCT staff_id) AS staff, sum(milli_points) AS milli_points
FROM points_entry GROUP BY period_id, org_id, component;
