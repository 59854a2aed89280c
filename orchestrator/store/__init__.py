"""The SQL database: tables, guarded transitions, queries, migrations."""
