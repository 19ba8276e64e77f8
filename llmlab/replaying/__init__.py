"""What was recorded, asked again and judged; and how it becomes a suite."""
