"""How customers stand, in one call: locked first, and then read by a statement that sees what the locks waited for."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    # A function that is VOLATILE takes a new snapshot for each of its statements. Its plans are generic: to plan anew
    # for each batch costs as much as the batch.
    op.execute(
        r"""
        CREATE FUNCTION standing_of(keys bigint[], since date, now timestamptz)
        RETURNS TABLE (customer bigint, org text, level text, status text, merged bigint, unwanted boolean,
            consents text, touches text)
        LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $function$
        #variable_conflict use_column
        BEGIN
            PERFORM FROM customer WHERE customer_key = ANY(keys) ORDER BY customer_key FOR NO KEY UPDATE;
            RETURN QUERY
            SELECT person.customer_key, person.org_id, person.level, person.status, coalesce(person.merged_into, 0),
                EXISTS (SELECT FROM do_not_contact AS one WHERE one.customer_key = person.customer_key),
                coalesce((SELECT string_agg(concat_ws(E'\x1f', channel, purpose, granted::text::"char"), E'\x1e')
                    FROM consent AS one WHERE one.customer_key = person.customer_key), ''),
                coalesce((SELECT string_agg(touch.told, E'\x1e') FROM (
                    SELECT concat_ws(E'\x1f', plan_date - DATE '2000-01-01', one.channel, one.purpose, one.product_id,
                        offer.exclusive_group, CASE WHEN outcome.result = 'REFUSED' THEN 't' ELSE 'f' END) AS told
                    FROM contact AS one JOIN offer USING (offer_id) LEFT JOIN outcome USING (contact_id)
                    WHERE one.customer_key = person.customer_key AND plan_date >= standing_of.since
                        AND one.state = 'HANDED_OVER'
                    UNION ALL
                    SELECT concat_ws(E'\x1f', business_day - DATE '2000-01-01', channel, purpose, product_id,
                        exclusive_group, 'f')
                    FROM decision AS one WHERE one.customer_key = person.customer_key
                        AND business_day >= standing_of.since AND one.state IN ('RESERVED', 'CONFIRMED')
                        AND (one.state = 'CONFIRMED' OR one.expire_time > standing_of.now)
                    ) AS touch), '')
            FROM customer AS person WHERE person.customer_key = ANY(keys);
        END $function$
        """
    )
