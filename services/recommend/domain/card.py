"""The model card (Mitchell et al. 2019): what a model is for, what it was made from, how good it is, where it ends."""

from services.recommend.domain.registry import Model

_SHOWN = ("ndcg@5", "hit@1", "popularity_ndcg@5", "item_knn_ndcg@5", "user_knn_ndcg@5", "ease_ndcg@5",
          "forest_only_ndcg@5", "cf_only_ndcg@5", "both_ndcg@5", "cold_start_ndcg@5", "cold_start_popularity_ndcg@5",
          "holding_auc", "brier", "calibration_error")  # fmt: skip


def card(model: Model) -> str:
    """Markdown."""
    metrics = "\n".join(f"| {name} | {model.metrics[name]:.4f} |" for name in _SHOWN if name in model.metrics)
    points = model.report.get("curve", [])
    curve = "\n".join(f"| {size:.0f} | {mean:.4f} ± {1.96 * error:.4f} |" for size, mean, error in points)
    compared, plain = model.metrics.get("pairs_compared", 0.0), model.metrics.get("pairs_plain", 0.0)
    saved = f"{compared:,.0f} pairs of customers compared, plain CF {plain:,.0f}" if plain else "not measured"
    dropped = "\n".join(f"- {name}: {why}" for name, why in sorted(model.report.get("dropped", {}).items()))
    return f"""# {model.algorithm} {model.model_id}

State {model.state}, trained {model.create_time:%Y-%m-%d %H:%M} UTC, seed {model.seed}.

## For what

Which product a customer is readiest to take, in order and as a probability. It learned from ownership alone: the
score is the share of customers with this profile and these other products who hold the product, and no response rate of
a campaign. It decides nothing about credit, prices or service.

## Made from

Portrait run {model.run_id}, {model.customers:,} customers, {len(model.features)} features,
{len(model.product_ids)} products. Data SHA-256 {model.data_sha256}.
Graph SHA-256 {model.sha256}, {model.bytes:,} bytes.
Code {model.report.get("code_version") or "not recorded"}.

## How good, on customers that it did not see

| measure | |
|---|---|
{metrics}

Accuracy (NDCG@5, 95 %) against the number of neighbours:

| K | |
|---|---|
{curve}

{saved}.

## Left out

{dropped or "- nothing"}

## Limits

Profiles of other times or places: look at the drift of the matrices that it scored. A customer who declined
personalisation is never scored by it.
"""
