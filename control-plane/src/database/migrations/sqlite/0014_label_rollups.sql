CREATE TABLE `label_rollups` (
	`level` integer NOT NULL,
	`label` text NOT NULL,
	`value` text NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`started_at` integer NOT NULL,
	`windows` integer NOT NULL,
	`succeeded` integer NOT NULL,
	`failed` integer NOT NULL,
	`invalid` integer NOT NULL,
	`rows` integer NOT NULL,
	`latency` blob NOT NULL,
	`confidence_sum` real NOT NULL,
	`confidence_count` integer NOT NULL,
	`classes` text NOT NULL,
	`failures` text NOT NULL,
	PRIMARY KEY(`level`, `label`, `started_at`, `value`, `model`, `version`)
);
--> statement-breakpoint
CREATE INDEX `label_rollups_time` ON `label_rollups` (`level`,`started_at`);--> statement-breakpoint
ALTER TABLE `rollups` ADD `failures` text;--> statement-breakpoint
CREATE INDEX `rollups_fleet` ON `rollups` (`level`,`started_at`,`model`,`version`) WHERE device_id = '';