CREATE TABLE `rollups` (
	`level` integer NOT NULL,
	`device_id` text NOT NULL,
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
	`body` text,
	PRIMARY KEY(`level`, `device_id`, `model`, `version`, `started_at`)
);
--> statement-breakpoint
CREATE INDEX `rollups_time` ON `rollups` (`level`,`started_at`);--> statement-breakpoint
CREATE TABLE `telemetry_floors` (
	`device_id` text NOT NULL,
	`epoch` integer NOT NULL,
	`sequence` integer NOT NULL,
	PRIMARY KEY(`device_id`, `epoch`)
);
--> statement-breakpoint
CREATE TABLE `telemetry_marks` (
	`name` text PRIMARY KEY NOT NULL,
	`value` integer NOT NULL
);
--> statement-breakpoint
ALTER TABLE `windows` ADD `arrival` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
UPDATE `windows` SET `arrival` = rowid;--> statement-breakpoint
ALTER TABLE `windows` ADD `latency` blob;--> statement-breakpoint
ALTER TABLE `windows` ADD `confidence_sum` real;--> statement-breakpoint
ALTER TABLE `windows` ADD `confidence_count` integer;--> statement-breakpoint
CREATE INDEX `windows_arrival` ON `windows` (`arrival`);--> statement-breakpoint
CREATE INDEX `evaluations_time` ON `evaluations` (`window_end`);--> statement-breakpoint
CREATE INDEX `labels_time` ON `labels` (`predicted_at`);--> statement-breakpoint
CREATE INDEX `losses_time` ON `losses` (`received_at`);--> statement-breakpoint
CREATE INDEX `run_logs_time` ON `run_logs` (`at`);--> statement-breakpoint
CREATE INDEX `samples_time` ON `samples` (`predicted_at`);--> statement-breakpoint
INSERT INTO `telemetry_floors` SELECT `device_id`, `epoch`, max(`sequence`) FROM `telemetry_items` GROUP BY `device_id`, `epoch`;--> statement-breakpoint
DELETE FROM `telemetry_items`;
