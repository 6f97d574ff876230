CREATE TABLE `backtests` (
	`id` text PRIMARY KEY NOT NULL,
	`model` text NOT NULL,
	`version` integer NOT NULL,
	`status` text NOT NULL,
	`asked` text NOT NULL,
	`rollout_id` text,
	`bounds` text,
	`report` text,
	`failure` text,
	`verdict` text,
	`created_at` integer NOT NULL,
	`created_by` text NOT NULL,
	`started_at` integer,
	`ended_at` integer
);
--> statement-breakpoint
CREATE INDEX `backtests_version` ON `backtests` (`model`,`version`);--> statement-breakpoint
CREATE INDEX `backtests_status` ON `backtests` (`status`);--> statement-breakpoint
CREATE INDEX `backtests_rollout` ON `backtests` (`rollout_id`);