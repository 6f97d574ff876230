CREATE TABLE `monitoring_references` (
	`id` text PRIMARY KEY NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`source` text NOT NULL,
	`profile` text NOT NULL,
	`from_at` integer NOT NULL,
	`to_at` integer NOT NULL,
	`frozen_at` integer NOT NULL,
	`frozen_by` text NOT NULL,
	`why` text NOT NULL,
	`alert_id` text
);
--> statement-breakpoint
CREATE INDEX `monitoring_references_version` ON `monitoring_references` (`model`,`version`);