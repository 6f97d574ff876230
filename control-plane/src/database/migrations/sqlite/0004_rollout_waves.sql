CREATE TABLE `model_aliases` (
	`model` text NOT NULL,
	`alias` text NOT NULL,
	`version` integer NOT NULL,
	`updated_at` integer NOT NULL,
	`updated_by` text NOT NULL,
	PRIMARY KEY(`model`, `alias`)
);
--> statement-breakpoint
CREATE TABLE `rollout_waves` (
	`rollout_id` text NOT NULL,
	`wave` integer NOT NULL,
	`started_at` integer NOT NULL,
	`ended_at` integer,
	`outcome` text NOT NULL,
	`gates` text NOT NULL,
	`counts` text NOT NULL,
	PRIMARY KEY(`rollout_id`, `wave`)
);
--> statement-breakpoint
ALTER TABLE `desired_models` ADD `attempt` integer;--> statement-breakpoint
ALTER TABLE `devices` ADD `published_generation` integer;--> statement-breakpoint
ALTER TABLE `devices` ADD `conflict_since` integer;--> statement-breakpoint
ALTER TABLE `rollout_devices` ADD `rank` integer;--> statement-breakpoint
ALTER TABLE `rollout_devices` ADD `attempt` integer;--> statement-breakpoint
ALTER TABLE `rollout_devices` ADD `outcome` text;--> statement-breakpoint
ALTER TABLE `rollout_devices` ADD `detail` text;--> statement-breakpoint
ALTER TABLE `rollout_history` ADD `evidence` text;--> statement-breakpoint
ALTER TABLE `rollouts` ADD `planned_at` integer;