"""The floor under every service: functions and values to call, no business noun, nothing to inherit.

How a service is put together (README.md has the rest):

    # services/points/__main__.py
    if __name__ == "__main__":
        sys.exit(command.main("points", app.run))

    # services/points/app.py
    async def run(environ: Mapping[str, str], serving: bool, working: bool) -> None:
        config = kit_config.read(Config, environ)                       # Config has a field `server: ServerSettings`
        settings = config.server
        owner, stop = f"{socket.gethostname()}:{system_ids()}", asyncio.Event()
        db = await Database.open(
            settings.database_url, schema="points", application="points", size=settings.database_connections
        )
        token = token_file(settings.service_token_file) if settings.service_token_file else lambda: ""
        ingest = open_channel(config.peer_ingest, token=token)
        points = Points(db, Store(), clock=system_clock, ids=system_ids)

        def register(server: grpc.aio.Server) -> None:
            add_PointsServiceServicer_to_server(PointsApi(points, stop), server)

        async def follow_events(stop: asyncio.Event) -> None:
            await cursors.follow(
                db, consumer="events", owner=owner, watch=Ingest(ingest).events, handle=points.take, stop=stop
            )

        async def run_jobs(stop: asyncio.Event) -> None:
            await jobs.work(db, worker.HANDLERS, owner=owner, clock=system_clock, stop=stop)

        try:
            await server.serve(
                service="points", settings=settings, register=register if serving else None, rights=RIGHTS,
                background=[follow_events, run_jobs] if working else [], ready=db.ping, stop=stop,
            )
        finally:
            await ingest.close()
            await db.close()
"""
