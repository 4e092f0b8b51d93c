"""Settings of Django for every test of a process, as they can be made only once there."""

ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "nowhere"  # no test asks Django for a page
SECRET_KEY = "for a test"  # noqa: S105
