CREATE TABLE `deliveries` (
	`channel_id` text NOT NULL,
	`group_key` text NOT NULL,
	`state` text NOT NULL,
	PRIMARY KEY(`channel_id`, `group_key`)
);
--> statement-breakpoint
CREATE TABLE `silences` (
	`id` text PRIMARY KEY NOT NULL,
	`match` text NOT NULL,
	`comment` text NOT NULL,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`starts_at` integer NOT NULL,
	`ends_at` integer NOT NULL
);
--> statement-breakpoint
ALTER TABLE `alerts` ADD `subject` text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `notification_channels` ADD `settings` text;