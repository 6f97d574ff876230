ALTER TABLE `desired_models` ADD `beside` text;--> statement-breakpoint
ALTER TABLE `rollout_devices` ADD `later` text;--> statement-breakpoint
ALTER TABLE `samples` ADD `other` text;