CREATE VIEW marts.portrait_runs AS
SELECT run_id, from_date, to_date, customers, signalling_rows, visits, catalogue_version, publish_time FROM run;

-- Fewer than ten customers could be known by name: they are left out.
CREATE VIEW marts.portrait_tags AS
SELECT run.run_id, run.to_date, split_part(tag_count.tag, '=', 1) AS tag,
       nullif(split_part(tag_count.tag, '=', 2), '') AS value, tag_count.customers
FROM tag_count JOIN run USING (run_no) WHERE tag_count.customers >= 10;
