"""Its being here puts this folder on the import path, so that every test may say ``from services import redis_url``."""
