"""The victim, which tells the test every secret of its attempts, so that the test can look for them elsewhere."""

from caffeonspark.runs import attempt, rank_server
from tests.support import victim_program

_new = attempt.Credentials.new
_random = rank_server.os.urandom


def new(*args, **options):
    credentials = _new(*args, **options)
    invitation = credentials.invitation()
    victim_program.say(secret=credentials.secret.hex(), nonce=invitation.nonce.hex(), driver=invitation.driver.hex())
    return credentials


class _Telling:
    """The module os for the rank server, which draws the ranks' own secret."""

    def __getattr__(self, name):
        return getattr(__import__("os"), name)

    def urandom(self, count):
        drawn = _random(count)
        victim_program.say(ranks_secret=drawn.hex())
        return drawn


attempt.Credentials.new = new
rank_server.os = _Telling()
rank_server._LATE = 60.0

if __name__ == "__main__":
    victim_program.main()
