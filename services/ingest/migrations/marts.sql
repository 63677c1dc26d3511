CREATE VIEW marts.ingest_deliveries AS
SELECT delivery_id, feed_id, period, sequence, state, source_rows, loaded_rows, rejected_rows, receive_time, load_time
FROM delivery;

CREATE VIEW marts.ingest_alarms AS
SELECT feed_id, kind, period, raise_time, clear_time FROM alarm;
