"""What tools do around their jobs."""

from types import SimpleNamespace

import pytest

from caffeonspark.tools.outputs import watched


class Context:
    """A SparkContext's local properties."""

    def __init__(self, **properties):
        self.properties = properties

    def getLocalProperty(self, name):  # noqa: N802
        return self.properties.get(name)

    def setLocalProperty(self, name, value):  # noqa: N802
        self.properties.pop(name, None)
        if value is not None:
            self.properties[name] = value

    def setJobGroup(self, group, what, interruptOnCancel):  # noqa: N802, N803
        self.properties.update(
            {
                "spark.jobGroup.id": group,
                "spark.job.description": what,
                "spark.job.interruptOnCancel": str(interruptOnCancel),
            }
        )

    def statusTracker(self):  # noqa: N802
        return SimpleNamespace(getJobIdsForGroup=lambda group: [])


@pytest.mark.parametrize("own", [{}, {"spark.jobGroup.id": "mine", "spark.job.description": "what I do"}])
def test_the_users_job_group_is_theirs_again(own):
    context = Context(**own)
    with watched(SimpleNamespace(sparkContext=context), "mean of x"):
        assert context.properties["spark.job.description"] == "mean of x"
    assert context.properties == own
