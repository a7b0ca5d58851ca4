"""Who may see what: the roles of the kiosk, by what their pages are for."""

DESK = ("front_desk", "manager")
MANAGER = ("manager",)
