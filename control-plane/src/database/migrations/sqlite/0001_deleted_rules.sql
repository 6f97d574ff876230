ALTER TABLE `alert_rules` ADD `deleted_at` integer;--> statement-breakpoint
-- That a default rule was deleted was noted as an evaluation of no version at the beginning of time.
INSERT INTO `alert_rules` (`id`, `spec`, `created_at`, `deleted_at`)
SELECT `rule_id`,
  json_object('kind', CASE WHEN `rule_id` LIKE 'default-accuracy-%' THEN 'accuracy' ELSE 'drift' END, 'model', `model`),
  coalesce((SELECT max(`at`) FROM `audit` WHERE `subject` = 'alert-rule/' || `rule_id` AND `action` = 'alert_rule.create'), 0),
  coalesce((SELECT max(`at`) FROM `audit` WHERE `subject` = 'alert-rule/' || `rule_id` AND `action` = 'alert_rule.delete'), 0)
FROM `evaluations` WHERE `version` = 0 AND `window_start` = 0
ON CONFLICT DO NOTHING;--> statement-breakpoint
DELETE FROM `evaluations` WHERE `version` = 0 AND `window_start` = 0;
