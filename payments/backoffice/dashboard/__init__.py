"""The dashboard, its charts and exports."""
