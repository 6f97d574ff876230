CREATE TABLE `assigned_models` (
	`device_id` text NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	PRIMARY KEY(`device_id`, `model`, `version`)
);
--> statement-breakpoint
CREATE TABLE `disregarded` (
	`device_id` text NOT NULL,
	`what` text NOT NULL,
	`reason` text NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`release` text NOT NULL,
	`count` integer NOT NULL,
	`last_at` integer NOT NULL,
	PRIMARY KEY(`device_id`, `what`, `reason`, `model`, `version`, `release`)
);
--> statement-breakpoint
CREATE TABLE `unknown_releases` (
	`device_id` text NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`release` text NOT NULL,
	PRIMARY KEY(`device_id`, `model`, `version`, `release`)
);
--> statement-breakpoint
CREATE INDEX `unknown_releases_model` ON `unknown_releases` (`model`);--> statement-breakpoint
CREATE TABLE `version_marks` (
	`model` text PRIMARY KEY NOT NULL,
	`highest` integer NOT NULL
);
--> statement-breakpoint
ALTER TABLE `labels` ADD `foreign_release` text;--> statement-breakpoint
ALTER TABLE `windows` ADD `foreign_release` text;--> statement-breakpoint
-- What a device may speak of: everything that it was told to run before this table was.
INSERT INTO `assigned_models` (`device_id`, `model`, `version`)
SELECT DISTINCT `given`.`device_id`, `rollouts`.`model`, `rollouts`.`version`
FROM `rollout_devices` AS `given` JOIN `rollouts` ON `rollouts`.`id` = `given`.`rollout_id`
WHERE `given`.`assigned_at` IS NOT NULL
UNION SELECT `device_id`, `model`, `version` FROM `desired_models`;--> statement-breakpoint
-- Numbers that are taken. Those far beyond what is registered are not believed.
INSERT INTO `version_marks` (`model`, `highest`)
SELECT `model`, max(`version`) FROM (
  SELECT `model`, `version` FROM `rollouts`
  UNION SELECT `model`, `version` FROM `desired_models`
  UNION SELECT DISTINCT `model`, `version` FROM `windows`
  UNION SELECT DISTINCT `model`, `version` FROM `labels`
  UNION SELECT DISTINCT `model`, `version` FROM `samples`
  UNION SELECT json_extract(`each`.`value`, '$.name'), max(
    coalesce(json_extract(`each`.`value`, '$.active.version'), 0),
    coalesce(json_extract(`each`.`value`, '$.lastGood'), 0),
    coalesce(json_extract(`each`.`value`, '$.candidate.version'), 0))
  FROM `devices`, json_each(`devices`.`reported`, '$.models') AS `each`
) AS `named`
WHERE `version` BETWEEN 1 AND 10000 + coalesce(
  (SELECT max(`known`.`version`) FROM `model_versions` AS `known` WHERE `known`.`model` = `named`.`model`), 0)
GROUP BY `model`;
