CREATE VIEW marts.contact_plans AS
SELECT plan_id, plan_date, sequence, state, candidates, contacts, control_contacts, withheld_contacts,
       objective_fen, bound_fen, gap, create_time
FROM plan;

CREATE VIEW marts.contact_campaigns AS
SELECT campaign_id, org_id, name, state, start_date, end_date, control_bps FROM campaign;

-- Reach and response by day, campaign, organisation, channel and product; groups of fewer than ten are left out.
CREATE VIEW marts.contact_effect AS
SELECT contact.plan_date, contact.campaign_id, contact.org_id, contact.channel, contact.product_id, contact.state,
       count(*) AS contacts, sum(contact.cost_fen) AS cost_fen,
       count(*) FILTER (WHERE outcome.result = 'RESPONDED') AS responded, count(*) FILTER (WHERE outcome.opened) AS opened
FROM contact LEFT JOIN outcome USING (contact_id)
GROUP BY contact.plan_date, contact.campaign_id, contact.org_id, contact.channel, contact.product_id, contact.state
HAVING count(*) >= 10;
