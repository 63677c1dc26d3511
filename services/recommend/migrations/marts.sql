CREATE VIEW marts.recommend_products AS
SELECT product_id, name, category, fee_fen, worth_fen, owners FROM product;

CREATE VIEW marts.recommend_models AS
SELECT model_id, state, algorithm, customers, metrics, create_time FROM model;
