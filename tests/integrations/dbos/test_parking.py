from ml_platform.integrations.dbos.parking import ParkingLot


class TestLength:
    def test_one_that_still_looks_whether_it_must_wait_does_not_wait_yet(self):
        lot = ParkingLot(lambda workflow_id: None, lambda pairs: set())
        lot.arm("job_1", "go")
        assert len(lot) == 0
        assert lot.park("job_1", 60.0)
        assert len(lot) == 1
        lot.disarm("job_1")
        assert len(lot) == 0
